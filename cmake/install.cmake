# What installs: libraries, headers, command, pkg-config files, CMake package, man pages.
install(TARGETS ${FB_TARGETS} EXPORT fewbitTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/fewbit DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  PATTERN train.h EXCLUDE)
if(FB_HAS_TRAIN)
  install(FILES include/fewbit/train.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/fewbit)
  set(FB_PC_TRAIN " -ldnnl -lgomp")
  if(FB_HAS_MPI)
    string(APPEND FB_PC_TRAIN " ${OMPI_LINK_LIBRARIES}")
  endif()
endif()
if(TARGET fewbit_command)
  install(TARGETS fewbit_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# Relative to where the .pc file lies, so that an installed tree can be moved.
file(RELATIVE_PATH FB_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/fewbit.pc.in fewbit.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/fewbit.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(FB_TOOLS)
  configure_file(cmake/fewbit-tools.pc.in fewbit-tools.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/fewbit-tools.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()

set(FB_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/fewbit)
install(EXPORT fewbitTargets NAMESPACE fewbit:: DESTINATION ${FB_CMAKE_DIR})
configure_package_config_file(cmake/fewbitConfig.cmake.in fewbitConfig.cmake
  INSTALL_DESTINATION ${FB_CMAKE_DIR})
write_basic_package_version_file(fewbitConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/fewbitConfig.cmake
  ${PROJECT_BINARY_DIR}/fewbitConfigVersion.cmake DESTINATION ${FB_CMAKE_DIR})

find_program(SCDOC scdoc)
file(GLOB FB_MAN CONFIGURE_DEPENDS docs/man/*.scd)
if(SCDOC AND FB_MAN)
  foreach(page ${FB_MAN})
    get_filename_component(base ${page} NAME_WLE) # fewbit-compress.1
    string(REGEX MATCH "[0-9]$" section ${base})
    add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/man/${base}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/man
      COMMAND sh -c "${SCDOC} < ${page} > ${PROJECT_BINARY_DIR}/man/${base}"
      DEPENDS ${page} VERBATIM)
    list(APPEND FB_MAN_OUT ${PROJECT_BINARY_DIR}/man/${base})
    install(FILES ${PROJECT_BINARY_DIR}/man/${base}
      DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
  endforeach()
  add_custom_target(man ALL DEPENDS ${FB_MAN_OUT})
endif()

install(FILES completions/fewbit.bash
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME fewbit)
install(FILES completions/_fewbit DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
