"""A Cloud Run that is none of Google's: `fake.py` starts it, and replicas of its revisions are real ones."""
