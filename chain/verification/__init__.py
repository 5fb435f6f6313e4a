"""`verify`: a data directory's whole history computed anew and compared."""
