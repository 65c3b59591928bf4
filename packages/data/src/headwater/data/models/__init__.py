"""Models that filters use: training them from folders of text, their files, and scoring with them."""
