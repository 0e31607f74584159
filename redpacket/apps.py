from django.apps import AppConfig


class RedpacketConfig(AppConfig):
    name = "redpacket"
    verbose_name = "Red packets"

    def ready(self) -> None:
        from redpacket import callbacks, jobs, tasks  # noqa: F401 - registers subscribers, jobs and the bell
