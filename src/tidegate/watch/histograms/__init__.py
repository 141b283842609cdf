"""Values counted into frozen bins, and how far such counts may differ by chance."""
