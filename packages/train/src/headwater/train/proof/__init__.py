"""`headwater train resume-proof`: short trainings, killed at random moments and resumed, against ones that were not."""
