"""The same networks and attacks as users of other libraries write them."""
