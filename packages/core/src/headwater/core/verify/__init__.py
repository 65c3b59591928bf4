"""`headwater verify`: hashes every file of a run again and derives its counts and its order again."""
