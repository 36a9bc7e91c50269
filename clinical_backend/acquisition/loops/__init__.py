"""The loops over arrays that are compiled: no Python object in them, one file for each module that calls them."""
