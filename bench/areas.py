"""What a country, a continent and all land would take at 10 m: a table, by calculation from measured rates.

python bench/areas.py --px-per-cpu-s 97000 --read-mb-per-s 74
"""

import argparse

AREAS_KM2 = {"France (metropolitan)": 551_500, "Europe": 10_180_000, "all land": 148_940_000}
GSD_M = 10
BLOCK_PX = 4096
TILE_PX, STRIDE_PX = 512, 384
OPERATIONS = 244_032
"""Of a pixel in U-Net/ResNet34, 6 bands, 4 classes; tiles overlap, so each is run (512/384)² times."""
ITEMS, BANDS, BYTES = 8, 6, 2
"""Read for each pixel of the map: 8 items over a place, 6 bands of 16 bits."""
COMPRESSED = 0.5
WRITTEN_BYTES = 2
"""Class and confidence, uncompressed."""


def rows(
    px_per_cpu_s: float, read_mb_per_s: float, gpu_tflops: float, network_mb_per_s: float
) -> list[list[str]]:
    """A row for each area."""
    found = []
    for name, km2 in AREAS_KM2.items():
        pixels = km2 * 1e6 / GSD_M**2
        read_mb = pixels * ITEMS * BANDS * BYTES / 1e6
        cpu_h = (pixels / px_per_cpu_s + read_mb / read_mb_per_s) / 3600
        operations = pixels * OPERATIONS * (TILE_PX / STRIDE_PX) ** 2
        found.append(
            [
                name,
                f"{km2:,}",
                f"{pixels / BLOCK_PX**2:,.0f}",
                f"{read_mb * COMPRESSED / 1e6:,.2f} TB",
                f"{pixels * WRITTEN_BYTES / 1e9:,.0f} GB",
                f"{cpu_h:,.0f}",
                f"{operations / (gpu_tflops * 1e12) / 3600:,.1f}",
                f"{read_mb * COMPRESSED / network_mb_per_s / 3600:,.0f}",
            ]
        )
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--px-per-cpu-s", type=float, required=True, help="map made in a second of one core")
    parser.add_argument(
        "--read-mb-per-s", type=float, required=True, help="decoded by one core, uncompressed"
    )
    parser.add_argument("--gpu-tflops", type=float, default=4.0, help="that a GPU keeps up in float32")
    parser.add_argument("--network-mb-per-s", type=float, default=50.0, help="of one worker, compressed")
    asked = parser.parse_args()
    heads = ("area", "km²", "blocks", "read", "written", "CPU hours", "GPU hours", "hours of reading")
    print("| " + " | ".join(heads) + " |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows(asked.px_per_cpu_s, asked.read_mb_per_s, asked.gpu_tflops, asked.network_mb_per_s):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
