"""The only folder that imports lm_eval."""
