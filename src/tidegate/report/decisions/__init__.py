"""What experiments, canaries and shadows came to: an experiment's page, and words and figures that the console shares.

Pure, as all of `report` is: shapes of `wire` come in, text goes out.
"""
