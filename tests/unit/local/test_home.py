"""What local mode keeps: a mnemonic that only its owner reads, and a port that stays."""

import socket
import stat

from pipeline.keys.mnemonic import validate
from pipeline.local.home import LocalHome


def test_the_mnemonic_is_written_once_for_its_owner_alone(tmp_path):
    home = LocalHome(tmp_path / "new" / "home")
    assert home.ensure_mnemonic()
    first = home.mnemonic_file.read_text()
    validate(first)
    assert stat.S_IMODE(home.mnemonic_file.stat().st_mode) == 0o600
    assert not home.ensure_mnemonic()
    assert home.mnemonic_file.read_text() == first
    gas, treasury = home.gas_and_treasury()
    assert gas != treasury


def test_the_port_of_the_last_start_is_kept_while_it_is_free(tmp_path):
    home = LocalHome(tmp_path)
    port = home.node_port()
    assert port < 32_768, "none that an outgoing connection may get"
    assert home.node_port() == port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert home.node_port() != port
