"""Loads the models, says so, and then makes one film after the other until its orders end."""

import json
import sys
import traceback
from typing import Any

from .avatars import Avatars
from .channel import Channel, TakenBack
from .models import Models, load
from .speak import NoFace, speak


def main() -> None:
    wanted = json.loads(sys.argv[-1])
    channel = Channel()
    try:
        models = load(wanted["unet_model"], wanted["unet_config"])
    except BaseException as error:  # noqa: BLE001  MuseTalk also ends by exit(); either way the worker must know.
        traceback.print_exc()
        channel.send("failed", words=f"{type(error).__name__}: {error}")
        sys.exit(1)
    channel.send("ready", half=models.half, device=str(models.device))
    avatars = Avatars(models)
    while True:
        channel.send(**_made(models, avatars, channel.next(), channel))


def _made(models: Models, avatars: Avatars, job: dict[str, Any], channel: Channel) -> dict[str, Any]:
    try:
        with models.torch.no_grad():
            facts = speak(models, avatars, job, channel)
    except TakenBack:
        return {"kind": "cancelled"}
    except NoFace:
        return {"kind": "no-face"}
    except BaseException as error:  # noqa: BLE001  Whatever MuseTalk raises, exit() too, ends the job and not us.
        traceback.print_exc()
        return {
            "kind": "failed",
            "words": f"{type(error).__name__}: {error}",
            "exited": isinstance(error, SystemExit),
        }
    return {"kind": "done", "facts": facts}


if __name__ == "__main__":
    main()
