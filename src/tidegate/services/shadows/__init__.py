"""Shadows as people ask for them: started, ended, and what a shadow came to beside what is live."""
