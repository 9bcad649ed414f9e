/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2/inuse.h"

#include <fcntl.h>

#include "base/err.h"

/* Byte 100 + n: somebody uses permission n; 1 is writing. */
enum { WRITE_PERMISSION_BYTE = 101 };

int
qcow2_in_use(int fd, struct err *e)
{
    struct flock l = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = WRITE_PERMISSION_BYTE,
        .l_len = 1,
    };

    if (fcntl(fd, F_OFD_GETLK, &l) == -1)
        return err_set_errno(e, ERR_IO, "cannot ask for locks on an image");
    return l.l_type != F_UNLCK;
}
