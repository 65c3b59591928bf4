"""`headwater train matrix`: every objective, optimizer and schedule trained for some steps against references."""
