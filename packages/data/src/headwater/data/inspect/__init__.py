"""Looking at documents: samples of what an operator kept, changed or set aside, and the text that decided."""
