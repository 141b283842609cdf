"""What labels say, and estimates without them: performance, also over weeks, label shift, label coverage."""
