"""The file that people get: one HTML page that holds questions, pictures, style and script, and needs nothing else."""
