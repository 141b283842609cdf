"""What a model's data looked like when it was fine, and how its traffic goes through day and week."""
