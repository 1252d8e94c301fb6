"""The grid on a Ray cluster: connection, nodes, slots, parcels."""
