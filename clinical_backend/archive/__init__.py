"""Images from outside Label Studio: what a DICOM archive holds, and what readers may see of it."""
