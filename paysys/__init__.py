"""The composition root: settings, URLs, Celery, the schedule, the supervisor and the demo. Imported by no app."""
