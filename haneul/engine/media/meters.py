"""What an engine of a folder counts, in Prometheus' text form."""

from __future__ import annotations

from collections import Counter

from haneul.engine.meters import head, one
from haneul.engine.slots import Slots


class MediaMeters:
    """Counts since the start. Work that was called off is counted as asked for."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.hang_ups = 0
        self.heard_ms = 0  # of the sounds that went to the model
        self.characters = 0  # of the texts that were given to be said
        self.said_ms = 0  # of the sounds that came of them
        self.images = self.pixels = 0  # asked of the model

    def text(self, slots: Slots) -> str:
        """Every number, by name."""
        lines = [
            *one("running", "gauge", "Requests being computed", slots.running),
            *one("waiting", "gauge", "Requests waiting for a place", slots.waiting),
            *one("requests_open", "gauge", "Requests not yet answered whole", slots.requests),
            *one("slots", "gauge", "Requests the model takes at a time", slots.slots),
            *one("hang_ups_total", "counter", "Requests whose client left", self.hang_ups),
            *head("audio_heard_seconds_total", "counter", "Seconds of sound given to the model"),
            f"haneul_engine_audio_heard_seconds_total {self.heard_ms / 1000:.3f}",
            *one("characters_total", "counter", "Characters to be said", self.characters),
            *head("audio_said_seconds_total", "counter", "Seconds of sound made of them"),
            f"haneul_engine_audio_said_seconds_total {self.said_ms / 1000:.3f}",
            *one("images_total", "counter", "Images asked of the model", self.images),
            *head("image_pixels_total", "counter", "Their pixels"),
            f"haneul_engine_image_pixels_total {self.pixels}",
            *head("requests_total", "counter", "Requests by path and status"),
        ]
        for (path, status), count in sorted(self.requests.items()):
            labels = f'path="{path}",status="{status}"'
            lines.append(f"haneul_engine_requests_total{{{labels}}} {count}")
        return "\n".join(lines) + "\n"
