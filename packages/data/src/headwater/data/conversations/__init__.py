"""Instruction data: what a conversation is, its one form as text, how records become one, and what is made of it."""
