"""What monitors found, as one page that opens from disk: results, their history and alerts into HTML without scripts.

Pure: plain values come in, text goes out. The API serves it, `tidegate monitor --report` saves it, and the console's
pages are made of the same readings and figures, so that both say the same.
"""
