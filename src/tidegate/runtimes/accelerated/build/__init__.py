"""Makes accelerated forms of a model and shows that they answer as it does; the job's process alone imports it."""
