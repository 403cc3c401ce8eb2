"""The `flagpost` command. One file a command or group; main.py knows them all."""
