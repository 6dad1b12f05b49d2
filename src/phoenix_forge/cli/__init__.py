"""Commands, consoles and the one error boundary. Nothing heavy is imported before a command needs it."""
