"""Sound and pictures: requests that go on as they came, to the engines that make or hear them."""
