"""What a Prefect server has to know of xv: deployments, automations, and the script that tells it."""
