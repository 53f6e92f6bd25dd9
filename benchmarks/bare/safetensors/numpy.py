"""What `minidl.serialization` imports."""
