"""Small applications, one idea each. Run one with `hesper run examples.hello:app`."""
