"""The service: its settings, its processes, and the files it keeps beside a job."""
