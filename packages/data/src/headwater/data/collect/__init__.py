"""Collection: everything that brings text in, written as WARC 1.1 records with the place each one came from."""
