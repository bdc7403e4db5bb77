"""The resources of a computation: device, batch size, threads and the allocator."""
