"""The loops over arrays that are compiled, one file for each module that calls them."""
