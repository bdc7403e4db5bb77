"""What a computation runs on: device, batch size, threads and the allocator."""
