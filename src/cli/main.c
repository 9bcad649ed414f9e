/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "capture/helper.h"
#include "cli/cli.h"

int
main(int argc, char **argv)
{
    int status = 0;

    mem_keep_little();
    if (helper_main(argc, argv, &status))
        return status;
    return cli_main(argc, argv);
}
