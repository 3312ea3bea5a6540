def main(managers, scratch):
    return 0
