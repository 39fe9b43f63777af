"""What puts a guest into memory: each loader checks its file, places it, and says where the processors start."""
