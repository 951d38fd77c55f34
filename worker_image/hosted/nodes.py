"""From the name of a host to its machines."""

from provider_clients.static import read_machines
from worker_image.hosted.duties import News
from worker_image.hosted.hpc.nodes import StaticNodes
from worker_image.hosted.media import MediaNodes, Ui
from worker_image.hosted.remote import Nodes
from worker_image.hosted.salad import SaladNodes
from worker_image.hosted.settings import HostName, HostSettings


def nodes_of(name: HostName, settings: HostSettings, news: News) -> Nodes:
    """Raises: ValueError: a file of the settings is wrong."""
    match name:
        case "comput3":
            assert settings.c3_api_key is not None  # noqa: S101  `load_host` has seen to what each host needs.
            ui = Ui(settings.comput3_ui_url, settings.comput3_ui_wait_s)
            return MediaNodes(settings.c3_api_key.get_secret_value(), settings.comput3_node_delay_s, ui)
        case "static":
            assert settings.static_machines is not None  # noqa: S101  As above.
            return StaticNodes(read_machines(settings.static_machines))
        case "salad":
            return SaladNodes(settings, news)
