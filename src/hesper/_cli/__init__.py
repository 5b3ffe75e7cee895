"""What is behind the command ``hesper``; ``hesper.cli`` is the door."""
