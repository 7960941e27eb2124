"""The job: a sealed run directory to published arrivals."""
