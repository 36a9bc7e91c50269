"""The submodular mutual information functions, one file each."""
