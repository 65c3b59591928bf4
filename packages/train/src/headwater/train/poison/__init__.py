"""A proof that the loss guard heals: real text, a poisoned shard, and the same training with and without the guard."""
