"""Names of the columns, outcomes and switches that kernels and operators share. Needs no compiler."""

# kernels.scan: counts of each text.
CHARACTERS = 0
CONTENT_WORDS = 1  # words that hold more than punctuation
CONTENT_CHARACTERS = 2  # characters in them
LETTER_WORDS = 3
HASH_SIGNS = 4
ELLIPSES = 5
SPLIT_LINES = 6  # lines of str.splitlines()
BULLET_LINES = 7
ELLIPSIS_LINES = 8
SCAN_COLUMNS = 9

# kernels.repetition: counts of each text; characters are those of what occurred before.
PARAGRAPHS = 0
REPEATED_PARAGRAPHS = 1
PARAGRAPH_CHARACTERS = 2
LINES = 3
REPEATED_LINES = 4
LINE_CHARACTERS = 5
REPETITION_COLUMNS = 6

# kernels.lines: counts of each text's lines.
FILLED_LINES = 0  # with words
ENDED_LINES = 1  # of those, with terminal punctuation at the very end
SHORT_LINES = 2
REPEATED_LINE_CHARACTERS = 3
LINE_COLUMNS = 4

# kernels.c4_lines: what becomes of a text, and its switches as bits.
KEPT, CHANGED, LOREM_IPSUM, CURLY_BRACKET, TOO_FEW_SENTENCES = range(5)
TERMINAL_LINES, JAVASCRIPT, POLICY, CITATIONS, LOREM, CURLY = 1, 2, 4, 8, 16, 32
