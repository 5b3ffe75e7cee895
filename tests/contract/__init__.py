"""The contract about endings, sentence by sentence: see docs/explanation/endings.md."""
