"""What tests in several folders share: a platform of their own, real models, polling with a deadline."""
