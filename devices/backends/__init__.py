"""Where chips meet the host: terminals, files. The only rooms that may touch sockets or a screen."""
