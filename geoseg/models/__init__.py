"""Networks, the packages they are shipped in and the engines that run them."""
